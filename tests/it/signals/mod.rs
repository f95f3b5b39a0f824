//! Telling of what happens: the live feed, limits that are neared, webhooks, alerts.

mod alerts;
mod crossings;
mod followed;
mod kept_acts;
mod kept_feed;
mod mail;
mod postbox;
mod receiver;
mod restraints;
mod stream;
mod streamed;
mod streams_under_load;
mod webhooks;
