//! What the integration tests share.

pub(crate) mod certificate;
#[expect(dead_code, reason = "shared with tests that use more of it")]
pub(crate) mod fault_proxy;
pub(crate) mod relay;
pub(crate) mod s3;
