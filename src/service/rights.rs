//! The rights of the person: erasure and rectification (R11).

use tonic::Status;

use super::{
    Services, convert,
    question::revision,
    refusal::{Refusal, rejection},
    status::invalid,
};
use crate::{
    caps,
    domain::{address::Accept, policy::Policy},
    proto::v1::{
        self, EraseRequest, EraseResponse, ErasureResult, RectifyRequest, RectifyResponse,
    },
    writer::{Erasure, Rectification},
};

impl Services {
    pub(super) async fn erase_contacts(
        &self,
        request: EraseRequest,
    ) -> Result<EraseResponse, Status> {
        let asked = request.erasures;
        if asked.len() > caps::ERASURES {
            let what = format!("{} given; at most {} are accepted", asked.len(), caps::ERASURES);
            return Err(invalid("erasures", what));
        }
        let view = self.published.load();
        let mut accepted = Vec::with_capacity(asked.len());
        let checked: Vec<Result<(), Refusal>> = asked
            .into_iter()
            .map(|each| erasure(&view.policy, each).map(|each| accepted.push(each)))
            .collect();
        let mut erased = self.writer.erase(accepted).await?.into_iter();
        let results = checked
            .into_iter()
            .map(|checked| match checked {
                Err(refusal) => {
                    ErasureResult { rejection: Some(rejection(refusal)), ..Default::default() }
                }
                Ok(()) => {
                    erased.next().map_or_else(ErasureResult::default, |erased| ErasureResult {
                        revision: erased.revision,
                        events: erased.events,
                        survivors: u32::try_from(erased.survivors).unwrap_or(u32::MAX),
                        rejection: None,
                    })
                }
            })
            .collect();
        let view = self.published.load();
        Ok(EraseResponse { results, revision: Some(revision(&view, view.revision)) })
    }

    pub(super) async fn rectify_contact(
        &self,
        request: RectifyRequest,
    ) -> Result<RectifyResponse, Status> {
        let view = self.published.load();
        let rectification = rectification(&view.policy, request)?;
        let done = self.writer.rectify(rectification).await?;
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(RectifyResponse {
            rectification: done.revision,
            moved: count(done.moved),
            kept: count(done.kept),
            revision: Some(revision(&view, done.reached)),
        })
    }
}

fn erasure(policy: &Policy, erasure: v1::Erasure) -> Result<Erasure, Refusal> {
    Ok(Erasure {
        brand: convert::brand_or_all(policy, &erasure.brand)?,
        // Whoever was once recorded can be erased, whatever the metadata says now.
        address: convert::address(erasure.contact.as_ref(), Accept::Possible)?,
        source: convert::text(erasure.source, "source", caps::TEXT_BYTES)?,
        note: convert::text(erasure.note, "note", caps::NOTE_BYTES)?,
        actor: convert::actor(erasure.actor)?,
    })
}

fn rectification(policy: &Policy, request: RectifyRequest) -> Result<Rectification, Refusal> {
    let address = |contact: Option<&v1::Contact>, field: &str, accept| {
        convert::address(contact, accept).map_err(|refusal| Refusal {
            field: refusal.field.replace("contact", field),
            ..refusal
        })
    };
    let from = address(request.from.as_ref(), "from", Accept::Possible)?;
    let to = address(request.to.as_ref(), "to", Accept::Valid)?;
    if from.kind() != to.kind() {
        let what = "must be of the same kind as the wrong address: consent belongs to an address";
        return Err(Refusal::invalid("to.kind", what));
    }
    if from == to {
        return Err(Refusal::invalid("to.address", "is the same contact as the wrong address"));
    }
    Ok(Rectification {
        brand: policy.brand(&request.brand)?,
        from,
        to,
        source: convert::text(request.source, "source", caps::TEXT_BYTES)?,
        actor: convert::actor(request.actor)?,
    })
}
