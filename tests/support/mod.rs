//! What the integration tests share.

pub(crate) mod fault_proxy;
pub(crate) mod relay;
pub(crate) mod s3;
