import { chat } from './app.js';

const { HEADROOM_URL: url, HEADROOM_API_KEY: apiKey, PORT = '3000' } = process.env;
if (!url || !apiKey) throw new Error('set HEADROOM_URL and HEADROOM_API_KEY');

const server = chat({ url, apiKey }).listen(Number(PORT), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
