import type { NextRequest } from 'next/server';
import { headroom, subjectOf } from '../../../lib/quota';

export async function GET(request: NextRequest): Promise<Response> {
  return Response.json(await headroom.usage(subjectOf(request)));
}
