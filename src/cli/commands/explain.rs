//! `lifeboat explain`: what an error code means and what to do about it.

use serde_json::json;

use crate::app::error::AppError;
use crate::app::explain;
use crate::base::error::Failure;
use crate::cli::args::ExplainArgs;
use crate::cli::output::JSON_VERSION;
use crate::cli::run::Session;

pub(crate) fn run(session: &Session, args: &ExplainArgs) -> Result<u8, Failure> {
    let page = explain::page(&args.code).ok_or_else(|| AppError::Unknown {
        what: "error code",
        name: args.code.clone(),
        known: "a code stands in brackets behind the word error, such as E0106".to_owned(),
    })?;
    if session.output.is_json() {
        session.output.json(&json!({ "version": JSON_VERSION, "page": page }));
    } else {
        session.output.line(&page.to_string());
    }
    Ok(0)
}
