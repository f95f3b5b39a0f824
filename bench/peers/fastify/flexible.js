// rate-limiter-flexible with ioredis: two limiters, joined as its documentation joins them.
import { Redis } from 'ioredis';
import { RateLimiterRedis, RateLimiterUnion } from 'rate-limiter-flexible';
import { LARGE, SMALL, isPremium, isSmall, serve } from './server.js';

const MONTH_S = 30 * 86_400;
const redis = new Redis(process.env.REDIS_URL, { enableAutoPipelining: process.env.AUTO_PIPELINING === 'yes' });

function limiters(name, { messages, premium }) {
  const limiter = (what, points) =>
    new RateLimiterRedis({ storeClient: redis, keyPrefix: `flexible:${name}:${what}`, points, duration: MONTH_S });
  const all = limiter('messages', messages);
  return { messages: all, both: new RateLimiterUnion(all, limiter('premium', premium)) };
}

const large = limiters('large', LARGE);
const small = limiters('small', SMALL);

await serve(async (subject, model) => {
  const { messages, both } = isSmall(subject) ? small : large;
  const limiter = isPremium(model) ? both : messages;
  return limiter.consume(subject).then(() => true, refusedOrBroken);
});

/** A refusal is an object without a message; anything else is an error. */
function refusedOrBroken(reason) {
  if (reason instanceof Error) throw reason;
  return false;
}
