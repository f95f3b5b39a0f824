//! What is sent over a connection, and how a redirection is followed.

use redis::Cmd;
use redis::Pipeline;
use redis::RedisFuture;
use redis::RedisResult;
use redis::Value;
use redis::aio::ConnectionLike;

use super::script::Script;
use super::wire::Wire;

/// A connection, over which each request may be preceded by `ASKING`: it was sent here by the server that gives the slot
/// away, for this once.
pub(super) struct Line {
    pub(super) connection: Wire,
    pub(super) is_asking: bool,
}

impl ConnectionLike for Line {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        if !self.is_asking {
            return self.connection.req_packed_command(command);
        }
        let mut asking = redis::pipe();
        asking.cmd("ASKING").add_command(command.clone());
        Box::pin(async move {
            let mut answers = self.connection.req_packed_commands(&asking, 1, 1).await?;
            answers.pop().unwrap_or(Value::Nil).extract_error()
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let asking = self.is_asking.then(|| asking(pipeline));
        Box::pin(async move {
            let connection = &mut self.connection;
            let answers = match &asking {
                None => connection.req_packed_commands(pipeline, offset, count).await?,
                Some(asking) => connection.req_packed_commands(asking, offset + 1, count).await?,
            };
            if !pipeline.is_transaction() {
                return Ok(answers);
            }
            // The library takes an error in place of a transaction's answers for a malformed answer.
            answers.into_iter().map(Value::extract_error).collect()
        })
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

/// The same commands after `ASKING`, which holds for all of a transaction.
fn asking(pipeline: &Pipeline) -> Pipeline {
    let is_atomic = pipeline.is_transaction();
    let mut asking = redis::pipe();
    asking.cmd("ASKING");
    if is_atomic {
        asking.cmd("MULTI");
    }
    for command in pipeline.cmd_iter() {
        asking.add_command(command.clone());
    }
    if is_atomic {
        asking.cmd("EXEC");
    }
    asking
}

/// What may be sent again, to another server.
pub(super) trait Request: Sync {
    fn send(&self, line: &mut Line) -> impl Future<Output = RedisResult<Value>> + Send;
}

impl Request for Cmd {
    async fn send(&self, line: &mut Line) -> RedisResult<Value> {
        self.query_async(line).await
    }
}

impl Request for Pipeline {
    async fn send(&self, line: &mut Line) -> RedisResult<Value> {
        self.query_async(line).await
    }
}

/// A call of a script.
pub(super) struct Call<'a, K, A> {
    pub(super) script: &'a Script,
    pub(super) keys: &'a [K],
    pub(super) arguments: &'a [A],
}

impl<K: AsRef<[u8]> + Sync, A: AsRef<[u8]> + Sync> Request for Call<'_, K, A> {
    async fn send(&self, line: &mut Line) -> RedisResult<Value> {
        self.script.call(line, self.keys, self.arguments).await
    }
}
