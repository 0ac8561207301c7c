//! The program itself: the real binary, real HTTP, real databases, real faults. Each story is told on SQLite and on
//! PostgreSQL, in an installation of its own that must leave nothing behind: no process, no run folder.
//!
//! Start at [`place::Place`]; what a step waits for is in [`gate`], what a caller sees goes through [`caller`].

mod apis;
mod caller;
mod chats;
mod command;
mod compared;
mod edits;
mod full;
mod gate;
mod groups;
mod keys;
mod killed;
mod kinds;
mod links;
mod openclaw;
mod outage;
mod output;
mod place;
mod private;
mod probes;
mod process;
mod questions;
mod replicas;
mod run;
mod stdio;

/// Makes of `async fn name(place: &mut Place)` a test on each database.
macro_rules! on_both_servers {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let mut place = $crate::server::place::Place::on_sqlite();
                super::$name(&mut place).await;
                place.end().await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(cluster) = $crate::database::cluster() else { return };
                let mut place = $crate::server::place::Place::on_postgres(&cluster).await;
                super::$name(&mut place).await;
                place.end().await;
            })*
        }
    };
}
use on_both_servers;
