'use client';

import { type FormEvent, useState } from 'react';

export default function Chat() {
  const [log, setLog] = useState('');
  const [left, setLeft] = useState<string | null>(null);

  async function send(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const prompt = String(new FormData(form).get('prompt'));
    form.reset();
    setLog((log) => `${log}> ${prompt}\n`);
    const reply = await fetch('/api/chat', {
      method: 'POST',
      // One key for one press of the button: sent again after a broken connection, the message is charged once.
      headers: { 'content-type': 'application/json', 'x-idempotency-key': crypto.randomUUID() },
      body: JSON.stringify({ prompt }),
    });
    setLeft(/r=(\d+)/.exec(reply.headers.get('ratelimit') ?? '')?.[1] ?? null);
    if (!reply.ok || !reply.body) {
      const { title } = await reply.json();
      return setLog((log) => `${log}${title}\n`);
    }
    const text = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await text.read(); !part.done; part = await text.read()) {
      const { value } = part;
      setLog((log) => log + value);
    }
    setLog((log) => `${log}\n`);
  }

  return (
    <main>
      <h1>Chat</h1>
      <p role="status">{left !== null && `${left} messages left`}</p>
      <div role="log" aria-live="polite" style={{ whiteSpace: 'pre-wrap' }}>
        {log}
      </div>
      <form onSubmit={send}>
        <input name="prompt" aria-label="Message" required />
        <button type="submit">Send</button>
      </form>
    </main>
  );
}
