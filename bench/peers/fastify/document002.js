// The design of the chat's own document: counters of a month in Postgres, a copy of them in Redis that is asked first, and a
// row a message in a log. Check the copy (or Postgres), let the message pass, then record it.
import { Redis } from 'ioredis';
import pg from 'pg';
import { LARGE, SMALL, isPremium, isSmall, serve } from './server.js';

const CACHE_S = 3_600;
const redis = new Redis(process.env.REDIS_URL);
const database = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 20 });

await database.query(`
  CREATE TABLE IF NOT EXISTS user_usage (
    user_id text PRIMARY KEY,
    total_messages integer NOT NULL DEFAULT 0,
    premium_messages integer NOT NULL DEFAULT 0,
    last_reset timestamptz NOT NULL DEFAULT now()
  );
  CREATE TABLE IF NOT EXISTS document_logs (
    id bigserial PRIMARY KEY,
    user_id text NOT NULL,
    model text NOT NULL,
    is_premium boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE INDEX IF NOT EXISTS document_logs_by_user ON document_logs (user_id, created_at);
`);

const keyOf = (subject) => `document002:${subject}`;

async function usageOf(subject) {
  const cached = await redis.get(keyOf(subject));
  if (cached) return JSON.parse(cached);
  const { rows } = await database.query(
    'SELECT total_messages AS messages, premium_messages AS premium FROM user_usage WHERE user_id = $1', [subject]);
  return rows[0] ?? { messages: 0, premium: 0 };
}

async function record(subject, model, premium) {
  await database.query('INSERT INTO document_logs (user_id, model, is_premium) VALUES ($1, $2, $3)', [subject, model, premium]);
  const { rows } = await database.query(
    `INSERT INTO user_usage (user_id, total_messages, premium_messages) VALUES ($1, 1, $2)
     ON CONFLICT (user_id) DO UPDATE SET total_messages = user_usage.total_messages + 1,
       premium_messages = user_usage.premium_messages + $2
     RETURNING total_messages AS messages, premium_messages AS premium`, [subject, premium ? 1 : 0]);
  await redis.set(keyOf(subject), JSON.stringify(rows[0]), 'EX', CACHE_S);
}

await serve(async (subject, model) => {
  const max = isSmall(subject) ? SMALL : LARGE;
  const premium = isPremium(model);
  const usage = await usageOf(subject);
  if (usage.messages >= max.messages || (premium && usage.premium >= max.premium)) return false;
  await record(subject, model, premium);
  return true;
});
