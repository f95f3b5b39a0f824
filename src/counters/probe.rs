//! Is what was acknowledged to this node still there?

use super::error::CountersError;
use super::group::Code;
use super::keys;
use super::line::Line;
use super::pack::Unpacker;
use super::script::Scripts;
use super::shard::Sight;

/// Whether the last event that was acknowledged to this node is in the outbox, or was trimmed after its commit.
///
/// A shard that is fenced or at another epoch answers `true`: the decision that follows finds that out by itself.
pub(super) async fn probe(
    scripts: &Scripts,
    line: &mut Line,
    shard: u16,
    sight: Sight,
) -> Result<bool, CountersError> {
    let Some((seq, event_id)) = sight.own else { return Ok(true) };
    let keys = [keys::meta(shard), keys::outbox(shard)];
    let arguments = [
        sight.epoch.to_string().into_bytes(),
        seq.to_string().into_bytes(),
        event_id.into_bytes().to_vec(),
    ];
    let answer = scripts.probe.call::<Vec<u8>, _>(line, &keys, &arguments).await;
    let bytes = answer.map_err(CountersError::of)?;
    let mut input = Unpacker::new(&bytes);
    input.array()?;
    let code = Code::read(input.count()?)?;
    let (_epoch, _seq, found) = (input.count()?, input.count()?, input.count()?);
    Ok(match code {
        Code::Ok => found == 1,
        Code::Rollback => false,
        _ => true,
    })
}
