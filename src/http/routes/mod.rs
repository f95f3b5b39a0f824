//! One file a group of routes.

pub mod alerts;
pub mod analytics;
pub mod audit;
pub mod catalogue;
pub mod chat;
pub mod counts;
pub mod dashboard;
pub mod decisions;
pub mod forecasts;
pub mod grants;
pub mod images;
pub mod incidents;
pub mod keys;
pub mod logs;
pub mod models;
pub mod operations;
pub mod plans;
pub mod refunds;
pub mod reservations;
pub mod resets;
pub mod stream;
pub mod subjects;
pub mod transfers;
pub mod usage;
pub mod webhooks;
