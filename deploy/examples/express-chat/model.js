// Stands in for a model: says the prompt again, word by word, and counts a token a word. Put your provider's SDK here.

/** Yields what is said, and the tokens so far. */
export async function* answer(prompt, signal) {
  if (prompt === 'break') throw new Error('the model broke');
  let tokens = 0;
  for (const word of `You said: ${prompt}`.split(' ')) {
    signal.throwIfAborted();
    tokens += 1;
    yield { text: `${word} `, tokens };
  }
}
