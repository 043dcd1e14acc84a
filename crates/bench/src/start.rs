//! The first commit of a network.

use crate::measure::Endpoint;
use crate::verdict;
use crate::wire::Wire;
use crate::{Load, Options, Problem};

/// Sends the load's first request and waits for its answer.
///
/// # Errors
/// [`Problem::Failed`] if it is refused.
pub fn first_commit(options: &Options, load: &Load, endpoints: &[Endpoint]) -> Result<(), Problem> {
    let (Some(request), Some(endpoint)) = (load.requests.first(), endpoints.first()) else {
        return Err(Problem::Failed(
            "nothing to send, or nobody to send it to".into(),
        ));
    };
    let response = Wire::open(endpoint.front())?.ask(&request.bytes)?;
    let now = std::time::Instant::now();
    let answered = crate::drive::Answered {
        request: request.clone(),
        began: now,
        ended: now,
        response,
    };
    let refusals = verdict::refusals(options.workload, &answered);
    match refusals.into_iter().flatten().next() {
        None => Ok(()),
        Some(reason) => Err(Problem::Failed(format!(
            "the first transaction was refused: {reason}"
        ))),
    }
}
