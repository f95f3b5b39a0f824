import { Headroom } from '@headroom/client';
import { quotaChecks } from '@headroom/client/next';
import type { NextRequest } from 'next/server';

export const withQuotaCheck = quotaChecks<NextRequest>({
  headroom: new Headroom({ url: process.env.HEADROOM_URL ?? '', apiKey: process.env.HEADROOM_API_KEY ?? '' }),
  subject: (request) => request.cookies.get('user')?.value ?? null,
  whenAway: 'closed',
});
