// What the two Fastify servers have in common: a route that decides, and its answers.
import Fastify from 'fastify';

export const isPremium = (model) => model.startsWith('claude-');
export const isSmall = (subject) => subject.startsWith('small:');
export const LARGE = { messages: 1_000_000_000, premium: 1_000_000_000 };
export const SMALL = { messages: 100, premium: 20 };

/** Serves `decide(subject, model)`, which answers whether the message may be sent. */
export async function serve(decide) {
  const app = Fastify();
  app.post('/v1/consume', async (request, reply) => {
    const { subject, model } = request.body;
    const allowed = await decide(subject, model);
    if (!allowed) reply.code(429);
    return { allowed };
  });
  app.get('/readyz', async () => 'ready');
  await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });
}
