package networks

import "net/http"

func (s *Service) routes() http.Handler { return http.NotFoundHandler() }
