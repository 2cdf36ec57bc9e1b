mod model;
mod unit;

use super::*;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Does what a shard does with an update.
fn judge_and_take<T>(merge: &mut Merge<T>, brought: &Brought, item: T) -> Option<T> {
    let Brought { line, slot, sequence, snapshot, at, .. } = *brought;
    merge.begin_read(at);
    let is_true = |topic: &Topic<T>| !topic.is_plain || topic.looks_plain();
    assert!(merge.topics.iter().all(is_true), "a topic counts as plain that is not");
    match merge.judge(line, slot, sequence, snapshot) {
        Judged::Next => Some(item),
        Judged::Known => None,
        Judged::Open => merge.take(brought, item),
    }
}
