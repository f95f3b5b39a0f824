// The whole chat: who asks, what it costs, and what the model says.
import { Headroom, streamWithReservation } from '@headroom/client';
import { quotaCheck } from '@headroom/client/express';
import express from 'express';
import { answer } from './model.js';

/** The most tokens that an answer may take. */
const TOKENS_MAX = 500;

export function chat({ url, apiKey }) {
  const headroom = new Headroom({ url, apiKey });
  // Your own sign-in goes here; this one believes what it is told.
  const subject = (req) => `user:${req.get('x-user') ?? 'nobody'}`;
  const quota = { headroom, subject, whenAway: 'closed' };

  const app = express();
  app.use(express.json(), express.static(new URL('public', import.meta.url).pathname));

  // Charges the message, or answers 429 with what is left and where there is more.
  app.post('/chat', quotaCheck({ ...quota, metric: 'messages' }), async (req, res) => {
    try {
      const stream = await streamWithReservation({
        ...quota,
        subject: subject(req),
        metric: 'tokens',
        amount: TOKENS_MAX,
        start: (signal) => answer(req.body.prompt, signal),
        used: (chunk) => chunk.tokens,
      });
      res.type('text/plain');
      for await (const chunk of stream) {
        // A reader who has gone away pays for what was said so far.
        if (res.destroyed) break;
        res.write(chunk.text);
      }
      res.end();
    } catch (error) {
      // The message came to nothing: it is given back.
      if (req.quota.eventId && !req.quota.repeated) await headroom.refund(req.quota.eventId);
      throw error;
    }
  });

  app.get('/usage', async (req, res) => {
    res.json(await headroom.usage(subject(req)));
  });

  // Express answers with the `status` of an error; `QuotaExceededError` has one, and the whole problem.
  app.use((error, _req, res, next) => {
    if (res.headersSent || !error.problem || error.status !== 429) return next(error);
    res.status(429).type('application/problem+json').send(JSON.stringify(error.problem));
  });
  return app;
}
