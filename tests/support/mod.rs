//! What the integration tests share.

pub(crate) mod fault_proxy;
pub(crate) mod s3;
