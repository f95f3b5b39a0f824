//! `headroom dev`.
