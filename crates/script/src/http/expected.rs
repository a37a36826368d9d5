//! Which statuses a script takes for a success: `http.expectedStatuses(200, { min: 300, max: 399 })`.

/// Ranges, both ends included; 200 to 399 unless told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Ranges(Vec<(u16, u16)>),
    /// `setResponseCallback(null)`: nothing is counted as failed or not.
    Unjudged,
}

impl Default for Expected {
    fn default() -> Self {
        Self::Ranges(vec![(200, 399)])
    }
}

impl Expected {
    /// `None` where it is not judged.
    pub(crate) fn holds(&self, status: u16) -> Option<bool> {
        match self {
            Self::Unjudged => None,
            Self::Ranges(ranges) => Some(ranges.iter().any(|(low, high)| (*low..=*high).contains(&status))),
        }
    }
}
