//! Telling of what happens: the live feed, limits that are neared, webhooks, alerts.

mod alerts;
mod crossings;
mod receiver;
mod stream;
mod streamed;
mod webhooks;
