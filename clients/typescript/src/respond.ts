import type { Denial } from './guard.js';

/** An answer in place of the handler's. */
export function responseOf(denial: Denial): Response {
  return new Response(JSON.stringify(denial.problem), { status: denial.status, headers: denial.headers });
}

/** The same response with more headers; those that it has already stay. Streams stay streams. */
export function withHeaders(response: Response, headers: Readonly<Record<string, string>>): Response {
  const missing = Object.entries(headers).filter(([name]) => !response.headers.has(name));
  if (missing.length === 0) return response;
  try {
    for (const [name, value] of missing) response.headers.set(name, value);
    return response;
  } catch {
    // The headers of a redirect, or of what `fetch` returned, cannot be changed.
    const changed = new Response(response.body, response);
    for (const [name, value] of missing) changed.headers.set(name, value);
    return changed;
  }
}
