// A model that tells its tokens at the end, as providers do.

/** One chunk of a model's stream. */
export interface Chunk {
  text: string;
  usage?: { total_tokens: number };
}

/** What was said, and then what it took. */
export async function* says(...texts: string[]): AsyncGenerator<Chunk, void, undefined> {
  for (const text of texts) yield { text };
  yield { text: '', usage: { total_tokens: 42 } };
}

/** Everything of a stream. */
export async function textOf(stream: ReadableStream<Chunk>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += chunk.text;
  return text;
}
