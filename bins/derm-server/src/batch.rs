//! Batch: several pictures of one request, answered one after the other. An answer is sent before the
//! next picture runs, so that all of them take the memory of one.

use crate::clients::Client;
use crate::connections::Connection;
use crate::error::ApiError;
use crate::inference::Inference;
use crate::models::Model;
use crate::permits::AnswerPermit;
use crate::state::State;
use crate::upload::{Pictures, SharedBytes};
use actix_web::body::{BodyStream, BoxBody};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, ResponseError};
use derm::{Report, Request};
use futures_util::stream;
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes that are handed to the connection at once.
const CHUNK: usize = 16 << 10;
/// What ends the list of answers.
const END: &[u8] = b"]}";

/// Writes the answer to one picture.
pub(crate) type Render = Arc<dyn Fn(Report) -> Result<Vec<u8>, ApiError> + Send + Sync>;

/// A picture, by its place in the body, and what decoding and drawing it takes.
pub(crate) type Item = Result<(Range<usize>, u64), ApiError>;

/// Pictures that are answered one after the other.
pub(crate) struct Batch {
    state: Data<State>,
    client: Arc<Client>,
    connection: Option<Arc<Connection>>,
    model: Arc<Model>,
    request: Request,
    deadline: Instant,
    bytes: SharedBytes,
    items: VecDeque<Item>,
    render: Render,
    /// What is to be sent next, and the memory of it.
    rest: Bytes,
    permit: Option<AnswerPermit>,
    /// Whether the connection knows that it is sent.
    is_announced: bool,
    has_ended: bool,
}

/// What stands in the place of a picture's answer.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Failure {
    /// What is wrong and how to mend it.
    error: String,
    /// The status that a request of this picture alone would get.
    status: u16,
}

/// Opens each picture, so that its cost is known. Nothing is decoded.
pub(crate) fn open_all(
    state: &State,
    model: &Model,
    request: &Request,
    bytes: &[u8],
    pictures: Pictures,
) -> VecDeque<Item> {
    let open = |range: Range<usize>| {
        if range.is_empty() {
            return Err(ApiError::BadRequest("the picture is empty".to_owned()));
        }
        let picture = model.classifier.open(&bytes[range.clone()]);
        let cost = picture.and_then(|picture| model.classifier.cost(&picture, request));
        let cost = cost.map_err(|error| ApiError::of(error, state.config.timeout()))?;
        Ok((range, cost.picture))
    };
    pictures.into_iter().map(|picture| picture.and_then(open)).collect()
}

impl Batch {
    /// Of these items in these bytes.
    pub(crate) fn new(
        http: &HttpRequest,
        state: &Data<State>,
        (model, request): (Arc<Model>, Request),
        (bytes, items): (SharedBytes, VecDeque<Item>),
        deadline: Instant,
        render: Render,
    ) -> Batch {
        Batch {
            state: state.clone(),
            client: state.client(http),
            connection: http.conn_data::<Arc<Connection>>().cloned(),
            model,
            request,
            deadline,
            bytes,
            items,
            render,
            rest: Bytes::new(),
            permit: None,
            is_announced: false,
            has_ended: false,
        }
    }

    /// Answers the first picture, and returns the body that answers them all: an object whose field
    /// `name` is the list.
    ///
    /// # Errors
    /// That of the first picture, if it is the only one or would meet all.
    pub(crate) async fn into_body(mut self, name: &str) -> Result<BoxBody, ApiError> {
        let is_only = self.items.len() == 1;
        if let Some(first) = self.items.pop_front() {
            let answer = self.answer(first, format!("{{\"{name}\":[").into_bytes()).await;
            let whole = |error: &ApiError| is_only || !error.is_of_picture();
            if let Answered { failed: Some(error), .. } = &answer
                && whole(error)
            {
                return Err(answer.failed.unwrap_or(ApiError::Internal));
            }
            self.set(answer);
        }
        let chunks = stream::unfold(self, |mut batch| async {
            let chunk = batch.next().await?;
            Some((Ok::<_, Infallible>(chunk), batch))
        });
        Ok(BoxBody::new(BodyStream::new(Box::pin(chunks))))
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            self.permit = None;
            match self.items.pop_front() {
                Some(item) => {
                    // The client has all that there is: it is the server that takes its time.
                    self.connection.iter().for_each(|connection| connection.request());
                    let answer = self.answer(item, b",".to_vec()).await;
                    self.set(answer);
                }
                None if self.has_ended => return None,
                None => {
                    self.has_ended = true;
                    self.rest = Bytes::from_static(END);
                }
            }
        }
        if !self.is_announced {
            let bytes = self.rest.len() as u64;
            self.connection.iter().for_each(|connection| connection.answer(bytes));
            self.is_announced = true;
        }
        let length = self.rest.len().min(CHUNK);
        Some(self.rest.split_to(length))
    }

    fn set(&mut self, answer: Answered) {
        self.rest = answer.text.into();
        self.permit = answer.permit;
        self.is_announced = false;
    }

    /// The answer to one picture, after this text.
    async fn answer(&self, item: Item, mut text: Vec<u8>) -> Answered {
        let running = async {
            let (range, memory) = item?;
            let (model, request) = (Arc::clone(&self.model), self.request.clone());
            let inference = Inference { model, request, memory, deadline: self.deadline };
            let (bytes, render) = (self.bytes.clone(), Arc::clone(&self.render));
            let work = inference.run(&self.state, &self.client, move |mut running| {
                let report = running.classify_bytes(&bytes[range])?;
                let answer = render(report)?;
                let permit = running.into_answer(answer.len());
                Ok((answer, permit))
            });
            self.state.shutdown.or_cancelled(work).await
        };
        match running.await {
            Ok((answer, permit)) => {
                text.extend_from_slice(&answer);
                Answered { text, permit: Some(permit), failed: None }
            }
            Err(error) => {
                let failure =
                    Failure { error: error.to_string(), status: error.status_code().as_u16() };
                text.extend(serde_json::to_vec(&failure).unwrap_or_default());
                Answered { text, permit: None, failed: Some(error) }
            }
        }
    }
}

/// The answer to one picture.
struct Answered {
    text: Vec<u8>,
    permit: Option<AnswerPermit>,
    failed: Option<ApiError>,
}
