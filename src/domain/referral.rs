//! Referral codes and the checks of a signup.
