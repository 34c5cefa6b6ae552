//! The table of pages: each with what it needs. The router is built from it, and the test of who
//! may see what.

use std::convert::Infallible;

use axum::Router;
use axum::http::Method;
use axum::middleware;
use axum::routing::MethodRouter;

use super::Pages;
use super::guard::{Door, guard};
use super::needs::Needs;

/// A page, or the target of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRoute {
    /// `GET` or `POST`.
    pub method: Method,
    /// Its path, with `{id}` for the account.
    pub path: &'static str,
    /// What it needs.
    pub needs: Needs,
}

/// Pages being put together.
pub(super) struct Table {
    pages: Option<Pages>,
    router: Router<Pages>,
    routes: Vec<PageRoute>,
}

impl Table {
    /// An empty one; without `pages` it only lists.
    pub fn new(pages: Option<Pages>) -> Table {
        Table {
            pages,
            router: Router::new(),
            routes: Vec::new(),
        }
    }

    /// Adds a page. Nothing reaches `handler` that does not have what the page needs.
    pub fn add(
        mut self,
        method: Method,
        path: &'static str,
        needs: Needs,
        handler: MethodRouter<Pages>,
    ) -> Table {
        if let Some(pages) = self.pages.clone() {
            let door = Door { pages, needs };
            let handler: MethodRouter<Pages, Infallible> =
                handler.layer::<_, Infallible>(middleware::from_fn_with_state(door, guard));
            self.router = self.router.route(path, handler);
        }
        let route = PageRoute {
            method,
            path,
            needs,
        };
        self.routes.push(route);
        self
    }

    /// The pages.
    pub fn router(self) -> Router<Pages> {
        self.router
    }

    /// What there is.
    pub fn routes(self) -> Vec<PageRoute> {
        self.routes
    }
}
