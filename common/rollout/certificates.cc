#include "common/rollout/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr size_t kMaxCertificateBytes = size_t{1} << 20;
constexpr size_t kMaxCertificates = 1024;
constexpr absl::Duration kWarnBefore = absl::Hours(7 * 24);

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>>;

Bio Open(absl::string_view text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

absl::StatusOr<absl::Time> TimeOf(const ASN1_TIME* asn1) {
  std::tm time{};
  if (ASN1_TIME_to_tm(asn1, &time) != 1) return absl::InvalidArgumentError("a certificate's validity is no time");
  return absl::FromTM(time, absl::UTCTimeZone());
}

absl::StatusOr<std::vector<Certificate>> ParseCertificates(absl::string_view pem) {
  const Bio bio = Open(pem);
  std::vector<Certificate> all;
  while (all.size() < kMaxCertificates) {
    Certificate certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (certificate == nullptr) break;
    all.push_back(std::move(certificate));
  }
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return absl::InvalidArgumentError("a certificate cannot be read: expected PEM text");
  }
  if (all.empty()) return absl::InvalidArgumentError("expected a certificate in PEM text");
  return all;
}

struct Validity {
  absl::Time begin, end;
};

absl::StatusOr<Validity> ValidityOf(const Certificate& certificate) {
  Validity validity;
  ASSIGN_OR_RETURN(validity.begin, TimeOf(X509_get0_notBefore(certificate.get())));
  ASSIGN_OR_RETURN(validity.end, TimeOf(X509_get0_notAfter(certificate.get())));
  return validity;
}

absl::StatusOr<std::vector<Certificate>> ReadPem(const char* field, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string pem, ReadFile(path, kMaxCertificateBytes));
  absl::StatusOr<std::vector<Certificate>> all = ParseCertificates(pem);
  if (all.ok()) return all;
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", path, ": ", all.status().message(), "."));
}

absl::Status CheckValid(const char* field, const std::string& path, const Validity& validity, absl::Time now) {
  if (now >= validity.begin && now < validity.end) return absl::OkStatus();
  const bool early = now < validity.begin;
  return absl::InvalidArgumentError(absl::StrCat(
      field, ": ", path, early ? ": the certificate is not valid before " : ": the certificate expired at ",
      absl::FormatTime(absl::RFC3339_sec, early ? validity.begin : validity.end, absl::UTCTimeZone()), "."));
}

// Until when all of a process's own chain is valid.
absl::StatusOr<absl::Time> CheckChain(const std::vector<Certificate>& chain, const std::string& path, absl::Time now) {
  absl::Time until = absl::InfiniteFuture();
  for (const Certificate& certificate : chain) {
    ASSIGN_OR_RETURN(const Validity validity, ValidityOf(certificate));
    RETURN_IF_ERROR(CheckValid("service.tls_cert_path", path, validity, now));
    until = std::min(until, validity.end);
  }
  return until;
}

// Until when one of the authorities is valid. A bundle may hold one that has been replaced.
absl::StatusOr<absl::Time> CheckAuthorities(const std::vector<Certificate>& authorities, const std::string& path,
                                            absl::Time now) {
  absl::Time until = absl::InfinitePast();
  absl::Status status;
  for (const Certificate& certificate : authorities) {
    ASSIGN_OR_RETURN(const Validity validity, ValidityOf(certificate));
    status = CheckValid("service.tls_ca_path", path, validity, now);
    if (status.ok()) until = std::max(until, validity.end);
  }
  return until == absl::InfinitePast() ? absl::StatusOr<absl::Time>(status) : until;
}

// Instead of asking for a passphrase on the terminal.
int NoPassphrase(char*, int, int, void*) { return -1; }

absl::Status CheckKey(const ChannelSecurity& security, const X509* certificate) {
  ASSIGN_OR_RETURN(const std::string pem, ReadFile(security.tls_key_path, kMaxCertificateBytes));
  const Bio bio = Open(pem);
  const Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  const bool fits = key != nullptr && X509_check_private_key(certificate, key.get()) == 1;
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("service.tls_key_path: ", security.tls_key_path,
                                                   ": expected a private key in PEM text, without a passphrase."));
  }
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("service.tls_key_path: ", security.tls_key_path,
                                                 " is not the key of the certificate in ", security.tls_cert_path,
                                                 "."));
}

std::vector<std::string> UrisOf(const X509* certificate) {
  std::vector<std::string> uris;
  const Names names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {  // -1 where there are none
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                      static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  return uris;
}

}  // namespace

absl::StatusOr<absl::Time> EarliestExpiry(absl::string_view pem) {
  ASSIGN_OR_RETURN(const std::vector<Certificate> certificates, ParseCertificates(pem));
  absl::Time earliest = absl::InfiniteFuture();
  for (const Certificate& certificate : certificates) {
    ASSIGN_OR_RETURN(const Validity validity, ValidityOf(certificate));
    earliest = std::min(earliest, validity.end);
  }
  return earliest;
}

absl::StatusOr<CertificateFacts> ReadCertificates(const ChannelSecurity& security, absl::Time now) {
  CertificateFacts facts;
  ASSIGN_OR_RETURN(const std::vector<Certificate> own, ReadPem("service.tls_cert_path", security.tls_cert_path));
  ASSIGN_OR_RETURN(facts.own_expiry, CheckChain(own, security.tls_cert_path, now));
  RETURN_IF_ERROR(CheckKey(security, own.front().get()));  // the first is the process's, what follows its issuers'
  ASSIGN_OR_RETURN(const std::vector<Certificate> authorities, ReadPem("service.tls_ca_path", security.tls_ca_path));
  ASSIGN_OR_RETURN(facts.ca_expiry, CheckAuthorities(authorities, security.tls_ca_path, now));
  facts.uris = UrisOf(own.front().get());
  facts.may_serve = X509_check_purpose(own.front().get(), X509_PURPOSE_SSL_SERVER, /*ca=*/0) == 1;
  facts.may_call = X509_check_purpose(own.front().get(), X509_PURPOSE_SSL_CLIENT, /*ca=*/0) == 1;
  return facts;
}

std::string ExpiryWarning(const CertificateFacts& facts, const ChannelSecurity& security, absl::Time now) {
  const bool own = facts.own_expiry <= facts.ca_expiry;
  const absl::Time end = own ? facts.own_expiry : facts.ca_expiry;
  if (end - now >= kWarnBefore) return "";
  return absl::StrFormat("%s expires in %.1f days, at %s: nobody can attach after that",
                         own ? security.tls_cert_path : security.tls_ca_path, absl::ToDoubleHours(end - now) / 24,
                         absl::FormatTime(absl::RFC3339_sec, end, absl::UTCTimeZone()));
}

}  // namespace tactus
