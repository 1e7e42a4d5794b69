//! Runs adapters, and starts them again when they fail.
//!
//! An adapter that returns an error or panics never touches the server: its task
//! ends, the state here says so, and after a pause that doubles up to 30 s it is
//! started anew.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ground::Adapter;
use crate::hub::engine::Figure;

/// The pause before the second start.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest one.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// An adapter that worked this long is not taken for one that cannot start.
const PROVEN: Duration = Duration::from_secs(60);

/// Time for an adapter to end when the server stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The adapters of a server. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Adapters(Arc<[Supervised]>);

#[derive(Debug)]
struct Supervised {
    adapter: Arc<dyn Adapter>,
    is_up: AtomicBool,
    restarts: AtomicU64,
    problem: Mutex<Option<String>>,
}

/// How an adapter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterState {
    /// Its name.
    pub name: &'static str,
    /// Whether it works at the moment.
    pub is_up: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it was down the last time.
    pub problem: Option<String>,
    /// What it misses while it works.
    pub missing: Option<String>,
}

impl Adapters {
    /// Those that the configuration asks for; none of them runs yet.
    #[must_use]
    pub fn new(adapters: Vec<Arc<dyn Adapter>>) -> Self {
        let supervised = adapters.into_iter().map(|adapter| Supervised {
            adapter,
            is_up: AtomicBool::new(false),
            restarts: AtomicU64::new(0),
            problem: Mutex::default(),
        });
        Self(supervised.collect())
    }

    /// How they are.
    #[must_use]
    pub fn states(&self) -> Vec<AdapterState> {
        self.0.iter().map(Supervised::state).collect()
    }

    /// What they count.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        self.0
            .iter()
            .flat_map(|supervised| supervised.adapter.figures())
            .collect()
    }

    /// Runs them in `tasks` until `stop`, and those that serve the last client until
    /// `finish`.
    pub fn start(&self, tasks: &TaskTracker, stop: &CancellationToken, finish: &CancellationToken) {
        for (index, supervised) in self.0.iter().enumerate() {
            let stop = if supervised.adapter.serves_the_last_client() {
                finish
            } else {
                stop
            };
            let (adapters, stop) = (self.clone(), stop.clone());
            tasks.spawn(async move { adapters.0[index].keep_up(stop).await });
        }
    }
}

impl Supervised {
    fn state(&self) -> AdapterState {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        AdapterState {
            name: self.adapter.name(),
            is_up: self.is_up.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            problem: problem.clone(),
            missing: self.adapter.missing(),
        }
    }

    async fn keep_up(&self, stop: CancellationToken) {
        let name = self.adapter.name();
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let begin = Instant::now();
            self.is_up.store(true, Ordering::Relaxed);
            tracing::info!(adapter = name, "adapter runs");
            let problem = self.run_once(&stop).await;
            self.is_up.store(false, Ordering::Relaxed);
            if stop.is_cancelled() {
                break;
            }
            tracing::error!(
                adapter = name,
                problem,
                "adapter failed; it is started again"
            );
            *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
            if begin.elapsed() >= PROVEN {
                pause = FIRST_PAUSE;
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(MAX_PAUSE);
            self.restarts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns why it has ended.
    async fn run_once(&self, stop: &CancellationToken) -> String {
        // A task of its own, so that a panic ends there.
        let mut running = tokio::spawn(Arc::clone(&self.adapter).run(stop.clone()));
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = stop.cancelled() => {
                match tokio::time::timeout(LAST_WORDS, &mut running).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        running.abort();
                        return "it does not stop".to_owned();
                    }
                }
            }
        };
        match ended {
            Ok(Ok(())) => "it has ended by itself".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(error) if error.is_panic() => {
                let panic = error.into_panic();
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned());
                format!("it panicked: {}", text.unwrap_or_default())
            }
            Err(error) => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use tokio::sync::Semaphore;

    use super::*;

    /// Fails, panics, ends and then works.
    #[derive(Debug)]
    struct Unsteady {
        starts: AtomicU64,
        works: Semaphore,
    }

    impl Adapter for Unsteady {
        fn name(&self) -> &'static str {
            "unsteady"
        }

        fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, anyhow::Result<()>> {
            async move {
                match self.starts.fetch_add(1, Ordering::Relaxed) {
                    0 => anyhow::bail!("no broker"),
                    1 => panic!("a bug"),
                    2 => Ok(()),
                    _ => {
                        self.works.add_permits(1);
                        stop.cancelled().await;
                        Ok(())
                    }
                }
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn an_adapter_that_fails_or_panics_is_started_again() {
        let adapter = Arc::new(Unsteady {
            starts: AtomicU64::new(0),
            works: Semaphore::new(0),
        });
        let adapters = Adapters::new(vec![Arc::clone(&adapter) as Arc<dyn Adapter>]);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());

        adapters.start(&tasks, &stop, &CancellationToken::new());
        adapter.works.acquire().await.unwrap().forget();

        let [state] = &adapters.states()[..] else {
            panic!("one adapter");
        };
        assert!(state.is_up);
        assert_eq!(state.restarts, 3);
        assert_eq!(state.problem.as_deref(), Some("it has ended by itself"));
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        assert!(!adapters.states()[0].is_up);
    }
}
