//! Where `up` listens: for its clients, and for the commands of its own machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::output::{Done, Failure};
use crate::http::{self, ApiState, Connections, Hosts, Tls};
use crate::ops::config::{Config, TlsFiles};
use crate::ops::health::Health;
use crate::ops::shutdown::{Shutdown, Trigger};

/// The listeners of `up`.
pub struct Listeners {
    /// Plain HTTP on loopback. Commands on this machine find it, and clients too unless there is
    /// another listener for them.
    local: TcpListener,
    /// For clients, if they use TLS or another address.
    public: Option<Public>,
}

struct Public {
    listener: TcpListener,
    tls: Option<Tls>,
}

/// Reads certificate and key, if there are any.
pub fn load_tls(files: Option<&TlsFiles>) -> Done<Option<Tls>> {
    let tls = files.map(|files| Tls::load(&files.certificate, &files.key));
    tls.transpose().map_err(Failure::refused)
}

/// Listens on an address.
pub async fn listen(address: SocketAddr) -> Done<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!(
            "cannot listen on {address}: {error}; choose another address, or a free port with --listen 127.0.0.1:0"
        ))
    })
}

impl Listeners {
    /// Opens `listen`; and a free port on loopback for commands, unless `listen` serves those as
    /// well.
    pub async fn open(config: &Config) -> Done<Listeners> {
        let tls = load_tls(config.tls.as_ref())?;
        let listener = listen(config.listen).await?;
        if config.listen.ip().is_loopback() && tls.is_none() {
            let (local, public) = (listener, None);
            return Ok(Listeners { local, public });
        }
        if tls.is_none() {
            tracing::warn!(
                event = "http.without_tls",
                listen = %config.listen,
                "other machines can reach this address and it has no TLS: anyone on the network path can read API keys and events. \
                 Set tls_certificate and tls_key, or listen on loopback behind a proxy that terminates TLS (docs/api.md#tls)"
            );
        }
        Ok(Listeners {
            local: listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?,
            public: Some(Public { listener, tls }),
        })
    }

    /// The address for commands on this machine.
    pub fn local_address(&self) -> Done<SocketAddr> {
        self.local.local_addr().map_err(Failure::failed)
    }

    /// What is said about the address for clients, if it is not the local one.
    pub fn public_notice(&self) -> Done<Option<String>> {
        let Some(Public { listener, tls }) = &self.public else {
            return Ok(None);
        };
        let address = listener.local_addr().map_err(Failure::failed)?;
        Ok(Some(match tls {
            Some(_) => format!("Clients reach it at https://{address}."),
            None => format!(
                "Clients reach it at http://{address}, WITHOUT TLS: anyone on the network path can read their keys. \
                 Browsers cannot sign in there. Set tls_certificate and tls_key, or use a proxy (docs/api.md)."
            ),
        }))
    }

    /// Serves HTTP in tasks; if one fails, everything stops. How they ended.
    pub fn serve(
        self,
        tasks: &mut JoinSet<()>,
        service: &ApiState,
        within: Duration,
        trigger: &Trigger,
        shutdown: &Shutdown,
    ) -> Vec<oneshot::Receiver<Done>> {
        let local = Some((self.local, None, Hosts::Loopback));
        let public = self.public.map(|one| (one.listener, one.tls, Hosts::Any));
        let start = |(listener, tls, hosts)| {
            let serving = serve(
                listener,
                http::router(service.clone(), hosts),
                tls,
                service.connections(),
                within,
                trigger.clone(),
                shutdown.clone(),
            );
            let (ended, served) = oneshot::channel();
            tasks.spawn(async move {
                // Nobody may want to know any more.
                let _ = ended.send(serving.await);
            });
            served
        };
        local.into_iter().chain(public).map(start).collect()
    }
}

/// Serves HTTP until shutdown; if it fails, everything stops.
pub async fn serve(
    listener: TcpListener,
    router: axum::Router,
    tls: Option<Tls>,
    connections: Connections,
    drain: Duration,
    trigger: Trigger,
    shutdown: Shutdown,
) -> Done {
    let served = http::serve(listener, router, tls, connections, shutdown, drain).await;
    served.map_err(|error| {
        tracing::error!(event = "http.stopped", %error, "the HTTP service failed; stopping");
        trigger.shut_down();
        Failure::failed(format!("the HTTP service failed: {error}"))
    })
}

/// What the process ends with: a listener that failed is why it stopped.
pub fn first_failure(served: impl IntoIterator<Item = oneshot::Receiver<Done>>) -> Done {
    // No answer: it was given up at the end of the shutdown, which says so.
    let mut ends = served.into_iter().map(|mut served| served.try_recv());
    ends.find_map(|ended| ended.ok().filter(Result::is_err))
        .unwrap_or(Ok(()))
}

/// From the request to stop on, load balancers are told to send their requests elsewhere.
pub async fn not_ready_when_leaving(health: Arc<Health>, mut shutdown: Shutdown) {
    shutdown.leaving().await;
    health.set_ready(false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_failed_is_what_the_process_ends_with() {
        let end = |ends: Vec<Option<Done>>| {
            let served = ends.into_iter().map(|with| {
                let (ended, served) = oneshot::channel();
                if let Some(with) = with {
                    ended.send(with).expect("a receiver");
                }
                served
            });
            first_failure(served)
        };
        let failure = || Some(Err(Failure::failed("no more sockets")));
        for ends in [vec![failure()], vec![Some(Ok(())), None, failure()]] {
            let failed = end(ends);
            assert!(matches!(failed, Err(Failure::Failed(why)) if why == "no more sockets"));
        }
        assert!(matches!(end(vec![Some(Ok(())), None]), Ok(())));
        assert!(matches!(end(vec![]), Ok(())));
    }
}
