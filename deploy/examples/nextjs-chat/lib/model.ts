import type { LanguageModelV3, LanguageModelV3StreamPart } from '@ai-sdk/provider';
import { simulateReadableStream } from 'ai';

/**
 * Stands in for a model: says what it was told, and counts a token a word. Put your provider's here, such as
 * `openai('gpt-5')`.
 */
export const model: LanguageModelV3 = {
  specificationVersion: 'v3',
  provider: 'example',
  modelId: 'parrot',
  supportedUrls: {},
  doGenerate: () => Promise.reject(new Error('this model only streams')),
  doStream: async ({ prompt }) => {
    const said = prompt
      .filter((message) => message.role === 'user')
      .flatMap(({ content }) => content.map((part) => (part.type === 'text' ? part.text : '')))
      .join(' ');
    if (said === 'break') throw new Error('the model broke');
    return { stream: simulateReadableStream({ chunks: partsOf(`You said: ${said}`.split(' ')) }) };
  },
};

function partsOf(words: string[]): LanguageModelV3StreamPart[] {
  const output = { total: words.length, text: words.length, reasoning: undefined };
  const input = { total: 0, noCache: 0, cacheRead: undefined, cacheWrite: undefined };
  const deltas = words.map((word) => ({ type: 'text-delta' as const, id: 'said', delta: `${word} ` }));
  return [
    { type: 'text-start', id: 'said' },
    ...deltas,
    { type: 'text-end', id: 'said' },
    {
      type: 'finish',
      finishReason: { unified: 'stop', raw: undefined },
      usage: { inputTokens: input, outputTokens: output },
    },
  ];
}
