/// What waits in services that only the shard knows.
pub(in crate::reactor) struct WaitingRequests {
    pub parked_pops: usize,
    /// Bytes that pops which gather messages hold, and may hold.
    pub gathered_bytes: [usize; 2],
    pub calls: usize,
    /// Requests that were denied so far, by their reasons.
    pub denied: Vec<(&'static str, u64)>,
}
