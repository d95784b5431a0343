"""What OTP has beside supervisors: registries and process groups."""
