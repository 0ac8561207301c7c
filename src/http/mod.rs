//! The door for files and for whoever watches the process: artifact transfer by signed links, health.
//!
//! Floor 3. Holds no rules: a link is checked by control. `/mcp` is another room and is merged in by `app`.

mod artifacts;
mod health;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};

use crate::control::Control;
use crate::domain::{Code, Refusal};
use crate::redact::Clean;
use crate::store::Store;

/// The routes of this room.
pub fn router(control: Control, store: Store) -> Router {
    let transfer = Router::new()
        .route("/uploads/{id}", put(artifacts::upload))
        .route("/artifacts/{id}", get(artifacts::download))
        .with_state(control);
    let health = Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .with_state(store);
    transfer.merge(health)
}

/// A refusal as an HTTP answer: the one conversion of this door.
pub(crate) fn refused(refusal: &Clean<Refusal>) -> Response {
    let body = serde_json::to_string(refusal).unwrap_or_default();
    (
        status(refusal.code),
        [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")],
        body,
    )
        .into_response()
}

/// The HTTP status of a refusal's code.
fn status(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::NotAllowed => StatusCode::FORBIDDEN,
        Code::NotFound | Code::InvalidLink => StatusCode::NOT_FOUND,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::AlreadyStarted | Code::AlreadyEnded | Code::IdempotencyConflict | Code::PlanChanged | Code::NotReady => {
            StatusCode::CONFLICT
        }
        Code::Busy => StatusCode::TOO_MANY_REQUESTS,
        Code::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Code::StorageUnavailable | Code::GatewayUnreachable => StatusCode::SERVICE_UNAVAILABLE,
        Code::GatewayRefused | Code::GatewayFailed => StatusCode::BAD_GATEWAY,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::InvalidArgument
        | Code::UnknownTarget
        | Code::UnknownInstance
        | Code::AmbiguousTarget
        | Code::DisabledTarget
        | Code::IntentNotAllowed
        | Code::NoRecipe
        | Code::MissingFacts
        | Code::DigestMismatch
        | Code::UnsafeArchive => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_work_later_is_a_status_that_says_so() {
        for code in [
            Code::Busy,
            Code::StorageFull,
            Code::StorageUnavailable,
            Code::GatewayUnreachable,
        ] {
            assert!(code.retryable());
            assert!(status(code).is_server_error() || status(code) == StatusCode::TOO_MANY_REQUESTS);
        }
        assert_eq!(
            status(Code::InvalidLink),
            StatusCode::NOT_FOUND,
            "a bad link tells nothing"
        );
    }
}
