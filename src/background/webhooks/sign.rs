//! Signatures of Standard Webhooks 1.0.0.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;

use crate::domain::Delivery;

/// The `webhook-signature` of a delivery that is sent then, in Unix seconds.
pub(super) fn signature(delivery: &Delivery, at_s: i64) -> String {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&delivery.secret.0)
        .expect("HMAC takes keys of any length");
    mac.update(format!("{}.{at_s}.{}", delivery.event_id, delivery.body).as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::WebhookSecret;

    #[test]
    fn a_signature_is_what_an_implementation_of_others_verifies() {
        let delivery = Delivery {
            webhook_id: Uuid::nil(),
            event_id: Uuid::from_u128(7),
            url: String::new(),
            secret: WebhookSecret(vec![7; 32]),
            body: "{\"test\":1}".to_owned(),
            attempts: 1,
        };
        let theirs = standardwebhooks::Webhook::from_bytes(vec![7; 32]).unwrap();
        let id = delivery.event_id.to_string();
        let wanted = theirs.sign(&id, 1_795_305_600, delivery.body.as_bytes()).unwrap();
        assert_eq!(signature(&delivery, 1_795_305_600), wanted);
    }
}
