//! What a browser could send is refused, however it found its way to the socket.

use cryprq_ipc_proto::error::{ErrorBody, ErrorCode};
use hyper::Request;
use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN, REFERER};

/// The names that a caller may give this host.
const HOSTS: [&str; 2] = ["cryprq", "localhost"];
const HINT: &str = "curl --unix-socket /run/cryprq/control.sock http://cryprq/v1/status";

/// Refuses requests of web pages, requests for other hosts, and what is no plain path.
///
/// # Errors
/// The refusal.
pub(super) fn check<T>(request: &Request<T>) -> Result<(), ErrorBody> {
    let headers = request.headers();
    if let Some(name) = headers.keys().find(|name| is_of_a_page(name)) {
        let message = format!("requests with {name} come from web pages and are refused");
        return Err(ErrorBody::new(ErrorCode::PermissionDenied, message).hint(HINT));
    }
    host(headers)?;
    let uri = request.uri();
    if uri.authority().is_some() || uri.query().is_some() {
        let message = "a request's target is a path, without host and query";
        return Err(ErrorBody::new(ErrorCode::BadRequest, message).hint("parameters stand in a JSON body"));
    }
    Ok(())
}

fn is_of_a_page(name: &HeaderName) -> bool {
    name == ORIGIN || name == REFERER || name.as_str().starts_with("sec-fetch-")
}

fn host(headers: &HeaderMap) -> Result<(), ErrorBody> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(ErrorBody::new(ErrorCode::BadRequest, "a request has one Host").hint(HINT));
    };
    if HOSTS.iter().any(|known| host.as_bytes().eq_ignore_ascii_case(known.as_bytes())) {
        return Ok(());
    }
    Err(ErrorBody::new(ErrorCode::PermissionDenied, "the Host is neither cryprq nor localhost").hint(HINT))
}
