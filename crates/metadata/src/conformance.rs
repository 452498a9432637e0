//! One suite for every implementation.
