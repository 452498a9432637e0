//! Prices of an object store, and of what moves between zones, in dollars.
//!
//! List prices for us-east-1 as commonly quoted in 2026-11 (docs/cost.md says how they were found); what is in force:
//! <https://aws.amazon.com/s3/pricing/> and
//! <https://aws.amazon.com/ec2/pricing/on-demand/> (data transfer). Discounts, free tiers and the lower prices of large volumes are
//! left out. docs/cost.md is computed from this table.

use super::account::Operation;

/// Bytes of what is billed "per GB".
pub const GIB: f64 = (1_u64 << 30) as f64;

/// Dollars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PriceTable {
    /// 1,000 writes: PUT, and each part of an upload in parts.
    pub put: f64,
    /// 1,000 reads: GET, HEAD.
    pub get: f64,
    /// 1,000 pages of names.
    pub list: f64,
    /// A GiB written, beside its requests.
    pub write: f64,
    /// A GiB read, beside its requests.
    pub read: f64,
    /// A GiB kept for a month.
    pub storage: f64,
    /// A GiB from one zone to another, both sides' charges together.
    pub transfer: f64,
}

/// Tables by name: `s3-standard`, `s3-express` (S3 Express One Zone) and `free`.
pub const PRESETS: [(&str, PriceTable); 3] = [
    (
        "s3-standard",
        PriceTable { put: 0.005, get: 0.0004, list: 0.005, write: 0.0, read: 0.0, storage: 0.023, transfer: 0.02 },
    ),
    (
        "s3-express",
        PriceTable {
            put: 0.001_13,
            get: 0.000_03,
            list: 0.001_13,
            write: 0.003_2,
            read: 0.000_6,
            storage: 0.11,
            transfer: 0.02,
        },
    ),
    ("free", PriceTable { put: 0.0, get: 0.0, list: 0.0, write: 0.0, read: 0.0, storage: 0.0, transfer: 0.0 }),
];

impl PriceTable {
    /// A preset by name.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        PRESETS.iter().find(|(known, _)| *known == name).map(|(_, table)| *table)
    }

    /// Reads `preset`, `name=dollars,…` or `preset,name=dollars,…`; without a preset what is not named is as in `s3-standard`.
    ///
    /// # Errors
    /// A line about the word that makes no sense.
    pub fn parse(said: &str) -> Result<Self, String> {
        let mut table = PRESETS[0].1;
        for (position, word) in said.split(',').map(str::trim).enumerate() {
            if let Some((name, dollars)) = word.split_once('=') {
                let dollars: f64 = dollars.trim().parse().map_err(|_| format!("{word:?} has no price in dollars"))?;
                let price = table.price_mut(name.trim()).ok_or_else(|| format!("there is no price {name:?}"))?;
                if !(0.0..=1e6).contains(&dollars) {
                    return Err(format!("{word:?} is not a price"));
                }
                *price = dollars;
            } else if position == 0 {
                let known = || PRESETS.map(|(name, _)| name).join(", ");
                table = Self::preset(word).ok_or_else(|| format!("{word:?} is none of {}", known()))?;
            } else {
                return Err(format!("{word:?} is not name=dollars"));
            }
        }
        Ok(table)
    }

    fn price_mut(&mut self, name: &str) -> Option<&mut f64> {
        Some(match name {
            "put" => &mut self.put,
            "get" => &mut self.get,
            "list" => &mut self.list,
            "write" => &mut self.write,
            "read" => &mut self.read,
            "storage" => &mut self.storage,
            "transfer" => &mut self.transfer,
            _ => return None,
        })
    }

    /// All prices, by the names they are set by.
    #[must_use]
    pub fn entries(&self) -> [(&'static str, f64); 7] {
        let Self { put, get, list, write, read, storage, transfer } = *self;
        [
            ("put", put),
            ("get", get),
            ("list", list),
            ("write", write),
            ("read", read),
            ("storage", storage),
            ("transfer", transfer),
        ]
    }

    /// What so many requests of one kind cost that moved so many bytes.
    #[must_use]
    pub fn requests(&self, operation: Operation, requests: f64, bytes: f64) -> f64 {
        let (per_thousand, per_gib) = match operation {
            Operation::Put | Operation::Part => (self.put, self.write),
            Operation::Get => (self.get, self.read),
            Operation::Head => (self.get, 0.0),
            Operation::List => (self.list, 0.0),
            Operation::Delete => (0.0, 0.0),
        };
        per_thousand * requests / 1000.0 + per_gib * bytes / GIB
    }

    /// What so many bytes between zones cost.
    #[must_use]
    pub fn transfer(&self, bytes: f64) -> f64 {
        self.transfer * bytes / GIB
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_a_preset_with_what_is_said_otherwise() {
        let standard = PriceTable::preset("s3-standard").unwrap();
        assert_eq!(PriceTable::parse("s3-standard"), Ok(standard));
        assert_eq!(PriceTable::parse("put=0.004"), Ok(PriceTable { put: 0.004, ..standard }));
        let express = PriceTable::preset("s3-express").unwrap();
        let own = PriceTable { storage: 0.1, get: 0.0, ..express };
        assert_eq!(PriceTable::parse("s3-express, storage=0.1, get=0"), Ok(own));
        for wrong in ["", "s4", "put=", "put=-1", "put=NaN", "gets=1", "put=1,free", "put=inf"] {
            assert!(PriceTable::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_million_writes_cost_five_dollars_and_deleting_them_nothing() {
        let standard = PriceTable::preset("s3-standard").unwrap();
        assert!((standard.requests(Operation::Put, 1e6, 1e12) - 5.0).abs() < 1e-9);
        assert!((standard.requests(Operation::Head, 1e6, 0.0) - 0.4).abs() < 1e-9);
        assert!(standard.requests(Operation::Delete, 1e6, 0.0).abs() < 1e-9);
        let express = PriceTable::preset("s3-express").unwrap();
        assert!((express.requests(Operation::Part, 1000.0, 10.0 * GIB) - (0.00113 + 0.032)).abs() < 1e-9);
        assert!((standard.transfer(GIB) - 0.02).abs() < 1e-9);
    }
}
