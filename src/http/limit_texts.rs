//! The texts of an answer that follow from its limits and their windows alone.
//!
//! Most of an answer is the same for all subjects on a plan until a window ends: it is made once, and copied into each.

use axum::http::HeaderValue;

use super::rate_limit_headers::distinct_names;
use super::rate_limit_headers::policy;
use super::text::Text;
use crate::domain::LimitState;
use crate::domain::Period;
use crate::domain::Window;

/// What the answers of all decisions on the same limits have in common.
pub struct LimitTexts {
    /// The name of each limit, as [`distinct_names`] gives them.
    pub names: Vec<String>,
    /// The value of `RateLimit-Policy`; `None` when all limits are unlimited.
    pub policy: Option<HeaderValue>,
    /// In the order of the limits.
    pub(super) limits: Vec<LimitText>,
}

/// What the [`LimitBody`](super::limit_body::LimitBody) of a limit is in all answers, in three pieces.
pub(super) struct LimitText {
    /// `{"name":"messages-month","subject":"`
    head: Box<[u8]>,
    /// `","metric":"messages","period":"month","limit":100,"used":`
    middle: Box<[u8]>,
    /// `,"window_start":"2026-11-01T00:00:00Z","resets_at":"2026-12-01T00:00:00Z","mode":"hard"`
    tail: Box<[u8]>,
}

impl LimitTexts {
    /// The texts of limits. What they say of use, of violations and of which subject it is makes no difference.
    #[must_use]
    pub fn of(limits: &[LimitState]) -> Self {
        let names = distinct_names(limits);
        let policy = policy(limits, &names);
        let texts = limits.iter().zip(&names).map(|(state, name)| LimitText::of(state, name));
        Self { limits: texts.collect(), policy, names }
    }
}

impl LimitText {
    fn of(state: &LimitState, name: &str) -> Self {
        Self { head: head(name), middle: middle(state), tail: tail(state) }
    }

    /// Writes the limit as serde would.
    pub(super) fn write(&self, state: &LimitState, out: &mut Text) {
        // A subject holds nothing that JSON escapes.
        out.raw(&self.head).raw(&*state.subject).raw(&self.middle).number(state.used.get());
        out.raw(r#","reserved":"#).number(state.reserved.get());
        if let Some(remaining) = state.remaining() {
            out.raw(r#","remaining":"#).number(remaining.get());
        }
        let carried = state.carried.get();
        if carried > 0 {
            out.raw(r#","carried":"#).number(carried);
        }
        let overage = state.overage().get();
        if overage > 0 {
            out.raw(r#","overage":"#).number(overage);
        }
        out.raw(r#","granted_remaining":"#).number(state.granted.get()).raw(&self.tail);
        out.raw(if state.would_deny { r#","would_deny":true"# } else { "" });
        out.raw(r#","warning":""#).raw(state.warning().as_str()).raw("\"}");
    }
}

fn head(name: &str) -> Box<[u8]> {
    let mut text = Text::with_capacity(64);
    text.raw(r#"{"name":"#).string(name).raw(r#","subject":""#);
    text.finish().into()
}

fn middle(state: &LimitState) -> Box<[u8]> {
    let mut text = Text::with_capacity(128);
    text.raw(r#"","metric":"#).string(state.metric.as_str());
    text.raw(r#","period":"#).string(state.period.as_str());
    match state.max {
        Some(max) => text.raw(r#","limit":"#).number(max.get()),
        None => text.raw(r#","unlimited":true"#),
    };
    text.raw(r#","used":"#);
    text.finish().into()
}

fn tail(state: &LimitState) -> Box<[u8]> {
    let window = (state.period != Period::Lifetime).then_some(state.window);
    let mut text = Text::with_capacity(128);
    text.raw(r#","window_start":"#).second(window.map(Window::start_at));
    text.raw(r#","resets_at":"#).second(window.map(Window::end_at));
    text.raw(if state.sliding { r#","sliding":true"# } else { "" });
    text.raw(r#","mode":"#).string(state.mode.as_str());
    text.finish().into()
}
