/** @type {import('next').NextConfig} */
export default {
  // This folder is the whole app, also inside a larger repository.
  turbopack: { root: import.meta.dirname },
};
