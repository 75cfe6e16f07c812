//! What the port of metrics answers beside them.

use hyper::{Method, StatusCode};

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Metrics,
    Fixed {
        code: StatusCode,
        kind: &'static str,
        text: &'static str,
    },
}

const ROOT: &str = "<html><head><title>ringmq</title></head><body><a href=\"/metrics\">Metrics</a></body></html>\n";

/// An answer to HEAD is sent without its text.
pub fn page(method: &Method, path: &str) -> Page {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
    }
    match path {
        "/metrics" => Page::Metrics,
        "/-/healthy" => plain(StatusCode::OK, "Exporter is healthy.\n"),
        "/" => Page::Fixed {
            code: StatusCode::OK,
            kind: "text/html",
            text: ROOT,
        },
        _ => plain(StatusCode::NOT_FOUND, "/metrics\n"),
    }
}

fn plain(code: StatusCode, text: &'static str) -> Page {
    Page::Fixed {
        code,
        kind: "text/plain",
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_its_page() {
        let code = |method, path| match page(&method, path) {
            Page::Metrics => None,
            Page::Fixed { code, .. } => Some(code.as_u16()),
        };
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(code(method.clone(), "/metrics"), None);
            assert_eq!(code(method.clone(), "/-/healthy"), Some(200));
            assert_eq!(code(method.clone(), "/"), Some(200));
            assert_eq!(code(method, "/metrics/"), Some(404));
        }
        assert_eq!(code(Method::POST, "/metrics"), Some(405));
        assert_eq!(code(Method::POST, "/x"), Some(405));
    }
}
