#![allow(clippy::unwrap_used, dead_code, unused_imports)]
mod random {
    #[path = "../../../torture/dice.rs"]
    mod dice;
    pub use dice::Dice;
}
mod sim;
mod support;
