//! What the object store is asked for, by whom and for whom, and what that costs.
//!
//! [`charge`] says in front of a call what it is for; a layer of the object store (`agent`, below the retries, where
//! requests are as they are billed) makes an [`Account`] of each operation when it begins and counts on it into the [`Ledger`];
//! [`PriceTable`] makes dollars of the counts. The hot path has none of it: a flush is one request, whatever it holds.

mod account;
#[cfg(feature = "metrics")]
mod instruments;
#[cfg(feature = "metrics")]
mod ledger;
mod prices;
#[cfg(feature = "metrics")]
mod topics;

#[cfg(feature = "metrics")]
pub use account::Account;
pub use account::{Operation, Purpose, charge};
#[cfg(feature = "metrics")]
pub(crate) use instruments::register;
#[cfg(feature = "metrics")]
pub use ledger::Ledger;
pub use prices::{GIB, PRESETS, PriceTable};
