//! On macOS the extension's settings carry routes; there are no rules.

use super::{DefaultRoute, Family, PolicyRule};
use crate::network::{Network, NetworkError};

impl Network {
    /// Adds a rule, unless it is there already; whether it was missing.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn add_rule(&self, _rule: &PolicyRule) -> Result<bool, NetworkError> {
        match *self.nothing() {}
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn remove_rule(&self, _rule: &PolicyRule) -> Result<(), NetworkError> {
        match *self.nothing() {}
    }

    /// Adds a default route, unless there is one already; whether it was missing.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn add_default(&self, _route: &DefaultRoute) -> Result<bool, NetworkError> {
        match *self.nothing() {}
    }

    /// Removes a default route.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn remove_default(&self, _route: &DefaultRoute) -> Result<(), NetworkError> {
        match *self.nothing() {}
    }

    /// Whether a table holds any route of a family.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn has_routes(&self, _family: Family, _table: u32) -> Result<bool, NetworkError> {
        match *self.nothing() {}
    }

    /// Whether the main table has a default route of a family.
    ///
    /// # Errors
    /// Never: there is no handle.
    pub async fn has_default(&self, _family: Family) -> Result<bool, NetworkError> {
        match *self.nothing() {}
    }
}
