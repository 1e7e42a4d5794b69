//! How much may be asked for: by one app, and from one address.

mod addresses;
mod meters;

use std::sync::Arc;

pub use self::addresses::{Addresses, Rates};
pub use self::meters::{Allowance, DayUse, Meters, Refusal, Wish};

/// The limits of one node. Clones share them.
#[derive(Clone, Debug)]
pub struct NodeLimits {
    /// What apps may ask for.
    pub meters: Arc<Meters>,
    /// What may come from one address.
    pub addresses: Arc<Addresses>,
}
