import { Headroom } from '@headroom/client';
import { quotaChecks } from '@headroom/client/next';
import type { NextRequest } from 'next/server';

export const headroom = new Headroom({
  url: process.env.HEADROOM_URL ?? 'http://127.0.0.1:8080',
  apiKey: process.env.HEADROOM_API_KEY ?? '',
});

/** Who asks. Your own sign-in goes here; this one believes a cookie. */
export function subjectOf(request: NextRequest): string {
  return `user:${request.cookies.get('user')?.value ?? 'nobody'}`;
}

/** What all routes have in common. */
export const withQuotaCheck = quotaChecks<NextRequest>({ headroom, subject: subjectOf, whenAway: 'closed' });
