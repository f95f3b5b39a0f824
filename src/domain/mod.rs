//! The words of the product and the rules between them, without I/O, async or a clock.
//!
//! **Architecture invariant:** nothing here imports another module of this crate, awaits, reads the time or
//! knows that Redis, Postgres or HTTP exist.

pub mod analytics;
pub mod api_key;
pub mod calendar;
pub mod catalogue;
pub mod decision;
pub mod denial;
pub mod event;
pub mod forecast;
pub mod grace;
pub mod level_limits;
pub mod limit;
pub mod logged;
pub mod model;
pub mod period;
pub mod plan;
pub mod profile;
pub mod sheet;
pub mod subject;
pub mod units;

pub use api_key::ApiKey;
pub use api_key::ApiKeyError;
pub use api_key::NewApiKey;
pub use api_key::Permission;
pub use api_key::Permissions;
pub use api_key::SecretDigest;
pub use calendar::AnchorDay;
pub use calendar::Calendar;
pub use calendar::CalendarError;
pub use catalogue::Catalogue;
pub use catalogue::CatalogueError;
pub use catalogue::Change;
pub use decision::Decision;
pub use decision::LimitState;
pub use decision::Warning;
pub use denial::Denial;
pub use denial::DenialCode;
pub use denial::DeniedLimit;
pub use event::Event;
pub use event::EventKind;
pub use grace::Grace;
pub use level_limits::LevelLimits;
pub use level_limits::LevelLimitsError;
pub use level_limits::limits_of;
pub use limit::Limit;
pub use limit::LimitError;
pub use limit::Mode;
pub use limit::StoreAway;
pub use model::ModelRule;
pub use period::Period;
pub use period::Slices;
pub use period::Window;
pub use plan::Plan;
pub use profile::Profile;
pub use profile::ProfileError;
pub use sheet::Line;
pub use sheet::Sheet;
pub use subject::Scope;
pub use subject::Subject;
pub use subject::SubjectError;
pub use units::Amount;
pub use units::Metric;
pub use units::Units;
