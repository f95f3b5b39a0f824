import type { NextRequest } from 'next/server';
import { withQuotaCheck } from '../../../../lib/quota';

interface Context {
  params: Promise<{ kind: string }>;
}

export const POST = withQuotaCheck<NextRequest, Context>(
  async (request, { params, quota }) => {
    const { kind } = await params;
    const { prompt } = await request.json();
    return Response.json({ remaining: quota.remaining, prompt, kind });
  },
  { metric: 'ai_generations' },
);
