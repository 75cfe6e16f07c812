//! How a controller stands among the others.

/// How this controller stands in its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub group: String,
    /// `n0:host:port;n1:host:port;`
    pub peers: String,
    pub leader_id: Option<String>,
    pub leader_address: Option<String>,
    pub is_leader: bool,
    /// Settings that are shown and cannot be changed, a line each.
    pub fixed_settings: String,
}
