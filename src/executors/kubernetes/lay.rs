//! Bringing the workspace into a pod: the inputs from clawhand's machine, later all of it from the pod before.
//!
//! What arrives is unpacked beside the workspace; only when all of it is there, one claim, which only one can have,
//! moves it into place and lets the step begin. So a transfer may break off anywhere and be begun anew.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::KubernetesExecutor;
use super::access::{Access, asked, found, is_conflict};
use super::exec::{BUFFER, Source};
use super::names;
use super::objects::{self, EXECUTION, ORDER, Wanted};
use super::pods::{self, Hindrance, Standing};
use super::state::State;
use crate::domain::{AttemptId, ExecutionId};
use crate::executors::contract::{ExecutorError, Input};
use crate::executors::local::blocking;
use crate::executors::posix;

/// Exit code of a script that came too late.
pub(super) const LATE: i32 = 7;

/// Unpacks what it reads into a folder of its own. Some tars leave links out that lead outside, which do no harm here.
const UNPACK: &str = "umask 077; cd /clawhand && mkdir -p in/NAMEPART && cd in/NAMEPART && \
    umask 0 && EXTRACT_UNSAFE_SYMLINKS=1 exec tar -xpf -";
/// Moves what was unpacked into place and lets the step begin, or finds that this was done.
const CLAIM: &str = r#"
umask 077
cd /clawhand || exit 1
if ! mkdir claimed 2>/dev/null; then
    n=0
    until [ -e go ]; do
        n=$((n + 1))
        [ "$n" -lt 100 ] || exit 7
        sleep 0.1 2>/dev/null || sleep 1
    done
    rm -rf in/NAME
    exit 0
fi
for part in work home; do
    rm -rf "$part"
    [ ! -d "in/NAME/$part" ] || mv "in/NAME/$part" "$part" || exit 1
    mkdir -p "$part" || exit 1
done
mkdir -p tmp attempts
for entry in in/NAME/tmp/* in/NAME/tmp/.[!.]* in/NAME/tmp/..?*; do
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    mv "$entry" tmp/ || exit 1
done
rm -rf in
: > go
"#;
/// Packs all that the next step shall find.
const PACK: &str = "cd /clawhand && exec tar -cf - work home tmp";
/// How often a transfer is tried that breaks off.
const TRANSFERS: u32 = 3;

impl KubernetesExecutor {
    /// Makes the pod that holds the inputs and lays them there. Before the first attempt it begins from nothing each
    /// time; after that the workspace holds work, and is found rather than made.
    pub(super) async fn lay_out(&self, execution: ExecutionId, inputs: &[Input]) -> Result<(), ExecutorError> {
        let access = self.access().await?;
        let jobs = access.jobs_of(execution).await?;
        let name = objects::inputs_name(execution);
        let has_begun = jobs.iter().any(|job| State::of(job).has_begun());
        if has_begun {
            return Ok(());
        }
        let inputs = inputs.to_vec();
        let (scratch, owner) = (self.scratch.clone(), u32::try_from(self.block.user).unwrap_or(0));
        let packed = blocking(move || {
            let laid = posix::lay_out(&inputs, &scratch)?;
            posix::pack(laid.path(), (owner, owner), &scratch)
        });
        let packed = packed.await?;
        let wanted = Wanted {
            block: &self.block,
            execution,
            start: None,
            order: 0,
        };
        access.make_job(&objects::job(&wanted)?).await?;
        let pod = self.until_up(&access, &name).await?.map_err(|why| refused(&why))?;
        transferred(|| bring(&access, &pod, &packed)).await?;
        match access.advance(&name, State::New, State::Ended).await? {
            Some(_) => Ok(()),
            None => Err(ExecutorError::Unreachable("the job of the inputs is gone".to_owned())),
        }
    }

    /// Waits until the pod of a Job is up. The inner error says why it won't be.
    pub(super) async fn until_up(
        &self,
        access: &Access,
        name: &str,
    ) -> Result<Result<String, Hindrance>, ExecutorError> {
        let mut last = Hindrance::default();
        let selector = pods::of_job(name);
        let decided = access.until_pods_within(&selector, self.block.start_timeout, |pods| {
            let pod = pods
                .values()
                .min_by_key(|pod| pod.metadata.deletion_timestamp.is_some());
            match pods::standing(pod) {
                Standing::Up => Some(Ok(pod.map(ResourceExt::name_any).unwrap_or_default())),
                Standing::Hindered(hindrance) => Some(Err(hindrance)),
                Standing::Over(_) => Some(Err(Hindrance::new(pods::NO_CONTAINER, "its pod ended before it began"))),
                Standing::Coming(hindrance) => {
                    last = hindrance.unwrap_or_default();
                    None
                }
            }
        });
        Ok(decided.await?.unwrap_or(Err(last)))
    }

    /// Brings the workspace into the pod of an attempt and lets the step begin. Nothing may be left to do.
    pub(super) async fn release(&self, execution: ExecutionId, attempt: AttemptId) -> Result<(), ExecutorError> {
        let access = self.access().await?;
        let name = objects::attempt_name(attempt);
        let pod = match self.until_up(&access, &name).await? {
            Ok(pod) => pod,
            Err(why) => return access.withdraw(&name, &why).await,
        };
        let jobs = access.jobs_of(execution).await?;
        let Some(source) = source(&jobs, &name) else {
            let why = Hindrance::new("the workspace is gone", "no pod of an earlier step is left");
            return access.withdraw(&name, &why).await;
        };
        let from = match access.pod_of(&source.name_any()).await? {
            Some(from) if pods::standing(Some(&from)) != Standing::Over(pods::Over::Deadline) => from.name_any(),
            _ => {
                let why = Hindrance::new(
                    "the workspace is gone",
                    format!("the pod of {} is gone", source.name_any()),
                );
                return access.withdraw(&name, &why).await;
            }
        };
        let carried = transferred(|| carry(&access, &from, &pod)).await?;
        let job = access.advance(&name, State::New, State::Released).await?;
        if !job.is_some_and(|job| State::of(&job) == State::Released) {
            return Ok(());
        }
        let claim = CLAIM.replace("NAME", &carried) + names::TELL;
        let claimed = access.run(&pod, &claim).await?;
        if claimed.code == LATE {
            return Ok(());
        }
        let said = claimed.well("let the step begin")?.stdout;
        if !said.is_empty() {
            self.learn_told(execution, &pod, &said);
        }
        let kept = [name, source.name_any()];
        for job in jobs.iter().filter(|job| !kept.contains(&job.name_any())) {
            access.delete_job(job).await?;
        }
        Ok(())
    }
}

/// The Job whose pod has the workspace as the next step shall find it: that of the last step that ended. One that was
/// lost before it ended is passed over.
pub(super) fn source<'a>(jobs: &'a [Job], name: &str) -> Option<&'a Job> {
    let mine = jobs.iter().find(|job| job.name_any() == name).map_or(u32::MAX, order);
    let before = jobs
        .iter()
        .filter(|job| order(job) < mine && State::of(job) == State::Ended);
    before.max_by_key(|job| order(job))
}

pub(super) fn order(job: &Job) -> u32 {
    job.annotations()
        .get(ORDER)
        .and_then(|order| order.parse().ok())
        .unwrap_or(0)
}

/// A name for what one transfer unpacks: another one may be under way.
fn transfer() -> String {
    AttemptId::random().to_string()
}

/// Transfers anew what was cut off.
async fn transferred<T, F>(transfer: impl Fn() -> F) -> Result<T, ExecutorError>
where
    F: Future<Output = Result<T, ExecutorError>>,
{
    for _ in 1..TRANSFERS {
        match transfer().await {
            Err(ExecutorError::Unreachable(why)) => tracing::warn!(why, "a transfer is begun anew"),
            done => return done,
        }
    }
    transfer().await
}

/// Inputs into the pod that holds them.
async fn bring(access: &Access, pod: &str, packed: &std::fs::File) -> Result<(), ExecutorError> {
    let failed = |error: std::io::Error| ExecutorError::Unreachable(format!("failed to read the inputs: {error}"));
    let mut source = tokio::fs::File::from_std(packed.try_clone().map_err(failed)?);
    source.rewind().await.map_err(failed)?;
    let source: Source = Box::pin(source);
    let name = transfer();
    let unpack = UNPACK.replace("PART", "/work").replace("NAME", &name);
    access
        .feed(pod, &unpack, source, &mut tokio::io::sink())
        .await?
        .well("unpack the inputs")?;
    access
        .run(pod, &CLAIM.replace("NAME", &name))
        .await?
        .well("lay the inputs")?;
    Ok(())
}

/// The workspace from one pod to beside that of the next, through clawhand. Returns its name there.
async fn carry(access: &Access, from: &str, to: &str) -> Result<String, ExecutorError> {
    let name = transfer();
    let unpack = UNPACK.replace("PART", "").replace("NAME", &name);
    let (mut out, into) = tokio::io::duplex(BUFFER);
    let packed = async {
        let packed = access.pour(from, PACK, &mut out).await;
        // The other side waits for the end.
        let _ = out.shutdown().await;
        packed
    };
    let mut nowhere = tokio::io::sink();
    let unpacked = access.feed(to, &unpack, Box::pin(into), &mut nowhere);
    let (unpacked, packed) = tokio::join!(unpacked, packed);
    // In this order: when nothing more can be unpacked, nobody takes what is packed.
    unpacked?.well("unpack the workspace")?;
    packed?.well("pack the workspace")?;
    Ok(name)
}

impl Access {
    /// All Jobs of an execution.
    pub(super) async fn jobs_of(&self, execution: ExecutionId) -> Result<Vec<Job>, ExecutorError> {
        let params = ListParams::default().labels(&format!("{EXECUTION}={execution}"));
        Ok(asked("list the jobs", self.jobs.list(&params)).await?.items)
    }

    /// Makes a Job, or finds it.
    pub(super) async fn make_job(&self, job: &Job) -> Result<Job, ExecutorError> {
        let params = PostParams::default();
        let made = asked("make a job", async {
            match self.jobs.create(&params, job).await {
                Err(error) if is_conflict(&error) => Ok(None),
                made => made.map(Some),
            }
        });
        match made.await? {
            Some(job) => Ok(job),
            None => match self.job(&job.name_any()).await? {
                Some(job) => Ok(job),
                None => Err(ExecutorError::Unreachable("the job came and went".to_owned())),
            },
        }
    }

    /// Deletes a Job and all that belongs to it, if it still is the one that was looked at.
    pub(super) async fn delete_job(&self, job: &Job) -> Result<(), ExecutorError> {
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: job.uid(),
            resource_version: None,
        });
        let deleted = asked("delete a job", async {
            match self.jobs.delete(&job.name_any(), &params).await {
                Err(error) if is_conflict(&error) => Ok(()),
                deleted => found(deleted).map(drop),
            }
        });
        deleted.await
    }

    /// Gives an attempt up that was never released. Nothing happens if it was.
    pub(super) async fn withdraw(&self, name: &str, why: &Hindrance) -> Result<(), ExecutorError> {
        tracing::warn!(
            job = name,
            why.words,
            why.detail,
            "an attempt is given up before it began"
        );
        self.advance_because(name, State::New, State::Withdrawn, Some(why))
            .await
            .map(drop)
    }
}

fn refused(why: &Hindrance) -> ExecutorError {
    ExecutorError::Refused(format!("{}: {}", why.words, why.detail))
}
